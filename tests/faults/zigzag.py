"""A strategy for the fault tests: buys every name now and then and sells it again."""

from strategies import registry
from strategies.base import RowStrategy, Side, Signal


@registry.register
class ZigZag(RowStrategy):
    name = "zigzag"

    def begin(self):
        self.memory = {"row": 0}

    def on_row(self, row):
        self.memory["row"] += 1
        for s, symbol in enumerate(self.universe.symbols):
            turn = (self.memory["row"] + 3 * s) % 14
            if row.traded[s] and turn in (2, 11):
                side = Side.BUY if turn == 2 else Side.SELL
                yield Signal(symbol, side, 0.9, structure_stop=0.5 * row.close[s])
