"""When something that runs by itself runs: by the clock on the wall, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger

from config.settings import Schedule


class WallClock(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires once on each day of the plan at its time in its zone; a time that clocks skip, an hour later.

    APScheduler's own cron trigger leaves out the midnight after clocks go forward, and fires twice in the
    hour that comes again in autumn.
    """

    def __init__(self, plan: Schedule) -> None:
        self._plan = plan
        self._time = time.fromisoformat(plan.time)
        self._zone = ZoneInfo(plan.timezone)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the first moment from `now` on that is after the previous one."""
        day = now.astimezone(self._zone).date() - timedelta(days=1)
        while True:
            day += timedelta(days=1)
            if not self._is_due(day):
                continue
            # Through UTC: moments of one zone are compared by their clocks, which may go back
            moment = datetime.combine(day, self._time, self._zone).astimezone(UTC)
            after = previous_fire_time is None or moment > previous_fire_time.astimezone(UTC)
            if after and moment >= now.astimezone(UTC):
                return moment.astimezone(self._zone)

    def _is_due(self, day: date) -> bool:
        if self._plan.frequency == "weekly":
            return day.strftime("%A").lower() == self._plan.day
        return self._plan.frequency == "daily" or day.day == self._plan.day_of_month
