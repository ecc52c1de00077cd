"""The daily returns of trials, which the probability of overfitting is computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "trial_returns",
        sa.Column("trial_id", sa.String(32), sa.ForeignKey("trials.id"), primary_key=True),
        sa.Column("daily", sa.LargeBinary, nullable=False),
    )
