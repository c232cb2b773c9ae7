INSERT INTO samples (series, at, value) VALUES ('queue.default.waiting', 1760000000000000, 3.0);
