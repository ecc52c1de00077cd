BEGIN TRANSACTION;
CREATE TABLE trials (
        id VARCHAR(32) NOT NULL PRIMARY KEY,
        data_fingerprint VARCHAR NOT NULL,
        config_hash VARCHAR(64) NOT NULL,
        created_at VARCHAR NOT NULL,
        command VARCHAR NOT NULL,
        sharpe FLOAT,
        n INTEGER NOT NULL,
        skew FLOAT,
        kurtosis FLOAT,
        event_log_hash VARCHAR(64) NOT NULL,
        label VARCHAR NOT NULL,
        CONSTRAINT trials_once UNIQUE (data_fingerprint, config_hash)
    );
INSERT INTO "trials" VALUES('0efc0dcb291022ab95d09761900b18d1','market','a','2026-01-01T00:00:00+00:00','backtest',0.05,250,-0.2,4.0,'log','trend_following');
INSERT INTO "trials" VALUES('2462b4363806522db212ef2687560bda','market','b','2026-01-01T00:00:00+00:00','backtest',0.07,250,-0.2,4.0,'log','trend_following');
COMMIT;
