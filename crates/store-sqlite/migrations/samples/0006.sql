INSERT INTO series (id, name) VALUES (1, 'queue:default');
INSERT INTO samples (series, level, at, a, b, c, d, e) VALUES (1, 0, 1760000000, 3.0, 1.0, 0.5, NULL, NULL);
