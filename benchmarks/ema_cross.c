/* The yardstick: the EMA-cross backtest as one would write it by hand for these arrays; one thread, row by row.
 *
 * Rules are those of the loop with `benchmarks.ema_cross.EmaCross`: two EMAs per symbol and their crosses, a
 * fixed notional per entry, whole exits, fills at the symbol's next open, commission on each fill, money in
 * integer micro-dollars, cash and equity marked on every row. It knows nothing else: no events, no checks of
 * the bars beyond "there is one", no limits, no second account.
 */
#include <math.h>
#include <stdint.h>

typedef struct {
    double fast_weight, slow_weight, notional, commission;
} Params;

typedef struct {
    int64_t n_orders, n_fills, cash;
} Account;

static int64_t micro(double dollars) { return (int64_t)rint(dollars * 1e6); }

/* Prices are [n_rows][n]. Per symbol: fast and slow start as NaN, the rest as 0; wanted is what to trade at the
 * next open, > 0 to buy. equity[n_rows] is written. */
void ema_cross(int64_t n_rows, int64_t n, const double *open, const double *close, const Params *p, double *fast,
               double *slow, double *mark, int64_t *held, int64_t *wanted, Account *account, int64_t *equity) {
    for (int64_t t = 0; t < n_rows; t++, open += n, close += n) {
        int64_t gross = 0;
        for (int64_t s = 0; s < n; s++) {
            double c = close[s];
            if (c == c) {
                if (wanted[s]) {
                    int64_t shares = wanted[s] > 0 ? wanted[s] : -wanted[s];
                    int64_t value = micro((double)shares * open[s]);
                    int64_t fee = (int64_t)rint((double)value * p->commission);
                    account->cash += (wanted[s] > 0 ? -value : value) - fee;
                    account->n_fills++;
                    held[s] += wanted[s];
                    wanted[s] = 0;
                }
                double fast_before = fast[s], slow_before = slow[s];
                if (fast_before != fast_before) {
                    fast[s] = slow[s] = c;
                } else {
                    double fast_now = fast_before + p->fast_weight * (c - fast_before);
                    double slow_now = slow_before + p->slow_weight * (c - slow_before);
                    fast[s] = fast_now;
                    slow[s] = slow_now;
                    /* & and |: a branch on which EMA is the higher would be mispredicted all the time */
                    int up = (fast_now > slow_now) & (fast_before <= slow_before);
                    int down = (fast_now < slow_now) & (fast_before >= slow_before) & (held[s] > 0);
                    if (up | down) {
                        wanted[s] = up ? (int64_t)floor(p->notional / c) : -held[s];
                        account->n_orders += wanted[s] != 0;
                    }
                }
                mark[s] = c;
            }
            gross += micro((double)held[s] * mark[s]);
        }
        equity[t] = account->cash + gross;
    }
}
