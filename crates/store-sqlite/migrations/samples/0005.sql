-- Rows as this version had them.
INSERT INTO users (id, name, display_name, role, password, disabled, provider, subject, generation, created_at,
    last_sign_in_at)
VALUES
    (2, 'ada', 'Ada Lovelace', 'admin', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g', 0, NULL, NULL, 3,
     1760000000000000, 1760000001000000),
    (4, 'grace', '', 'read_only', NULL, 1, 'corp', '248289761001', 1, 1760000000000000, NULL);
INSERT INTO sessions (hash, user, token, method, provider, created_at, seen_at, expires_at)
VALUES
    (randomblob(32), 2, NULL, 'password', NULL, 1760000001000000, 1760000001000000, 1760600000000000),
    (randomblob(32), NULL, 3, 'token', NULL, 1760000001000000, 1760000001000000, 1760600000000000);
