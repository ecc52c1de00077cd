"""The versions of the schema, oldest first, as Alembic knows them.

A change of the schema is a new file in `versions/` and its revision at the end of `REVISIONS`: knowing the
newest one here spares a program that has nothing to migrate the import of Alembic (0.6 s).
"""

REVISIONS = ("0001", "0002")
HEAD = REVISIONS[-1]
