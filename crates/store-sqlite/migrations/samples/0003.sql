-- Rows as this version had them.
INSERT INTO projects (name, created_at) VALUES ('core', 1760000000000000);
INSERT INTO data_keys (id, purpose, project, master, sealed, created_at)
VALUES (41, 'secret', '', x'0102030405060708', x'0a0b', 0), (42, 'run', '', x'0102030405060708', x'0a0b', 0);
INSERT INTO environments (project, key, name, rules, created_at, updated_at, updated_by)
VALUES ('core', 'production', 'Production', '{"reviewers":["alice"],"wait_minutes":5}', 1760000000000000,
    1760000000000000, 'token:1');
INSERT INTO secrets (scope, project, environment, name, shown, data_key, sealed, updated_at, updated_by)
VALUES ('global', '', '', 'TOKEN', '', 41, x'0c0d', 1760000000000000, 'token:1'),
       ('environment', 'core', 'production', 'TOKEN', 'Production', 41, x'0c0d', 1760000000000000, 'token:1');
INSERT INTO variables (scope, project, environment, name, shown, value, updated_at, updated_by)
VALUES ('project', 'core', '', 'REGION', '', 'eu', 1760000000000000, 'token:1');
INSERT INTO secret_uses (at, name, scope, project, environment, run, job, attempt, epoch)
VALUES (1760000001000000, 'TOKEN', 'global', 'core', NULL, 1, 10, 1, 100);
INSERT INTO approvals (run, job, project, environment, reason, state, reviewers, due, created_at, decided_at,
    decided_by, comment)
VALUES (1, NULL, 'core', NULL, 'the run comes from a fork', 'approved', NULL, NULL, 1760000000000000,
    1760000000500000, 'alice (token:3)', 'fine'),
       (1, 10, 'core', 'Production', NULL, 'pending', '["alice"]', 1760000300000000, 1760000000000000, NULL, NULL, NULL);
