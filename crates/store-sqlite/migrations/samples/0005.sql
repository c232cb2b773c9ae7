INSERT INTO users (id, name, created_at) VALUES (2, 'ada', 1760000000000000);
