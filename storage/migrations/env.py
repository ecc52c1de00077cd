"""What Alembic runs: the migrations, inside the transaction of whoever called (`storage.schema`)."""

from alembic import context

# SQLite undoes DDL as well; Alembic takes it for granted of other databases only.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
