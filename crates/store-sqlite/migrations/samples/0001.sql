-- Rows as schema 1 had them. Never edited after its release.
UPDATE counters SET run = 2, job = 20, runner = 5, token = 3, epoch = 101, change = 9;
INSERT INTO documents (id, hash, body) VALUES (1, randomblob(32), 'on: push');
INSERT INTO specs (id, hash, body) VALUES (1, randomblob(32), '{"key":"build","name":"build","steps":[]}');
INSERT INTO placements (id, hash, body) VALUES (1, randomblob(32), '{"labels":["linux"],"priority":1}');
INSERT INTO runs (id, number, attempt, status, conclusion, cancel_requested, created_at, started_at,
    finished_at, change, jobs, kind, name, title, project, path, event, actor, branch, rerun_of, concurrency, nodes)
VALUES
    (1, 1, 1, 'running', NULL, 0, 1760000000000000, 1760000001000000, NULL, 5, 1, 'workflow', 'build', 'Build',
     'core', NULL, 'push', 'alice', 'main', NULL, '{"group":"g"}', '[{"key":"build","needs":[],"names":["build"]}]'),
    (2, 2, 1, 'completed', 'failure', 1, 1760000000000000, 1760000001000000, 1760000002000000, 6, 1, 'job', 'one',
     'One', 'core', 'job.yml', 'api', NULL, NULL, 1, NULL, NULL);
INSERT INTO run_payloads (run, document, params, contexts, sealed_secrets)
VALUES (1, 1, '{"event_name":"push"}', '{"github":{"ref":"refs/heads/main"}}', x'0102'), (2, 1, NULL, NULL, NULL);
INSERT INTO jobs (id, run, status, conclusion, cancel_requested, attempt, runner, created_at, queued_at, started_at,
    finished_at, not_before, change, leg, continue_on_error, fail_fast, max_parallel, exit_code, reason, key, name,
    project, placement, spec, message, outputs, needs)
VALUES
    (10, 1, 'running', NULL, 0, 1, 5, 1760000000000000, 1760000000000000, 1760000001000000, NULL, NULL, 7, 0, 0, 1, 2,
     NULL, NULL, 'build', 'build', 'core', 1, 1, NULL, NULL, '{"lint":{"result":"success"}}'),
    (20, 2, 'completed', 'failure', 1, 1, 5, 1760000000000000, 1760000000000000, 1760000001000000, 1760000002000000,
     NULL, 8, 0, 0, 1, NULL, 2, 'exit_code', 'one', 'one', 'core', 1, 1, 'exit code 2', '{"a":"b"}', NULL);
INSERT INTO attempts (epoch, job, number, run, runner, leased_at, finished_at, conclusion, reason, message,
    log_bytes, steps, result)
VALUES
    (100, 10, 1, 1, 5, 1760000001000000, NULL, NULL, NULL, NULL, 0,
     '[{"index":0,"id":"__run","name":"Run make","status":"running"}]', NULL),
    (101, 20, 1, 2, 5, 1760000001000000, 1760000002000000, 'failure', 'exit_code', 'exit code 2', 77,
     NULL, '{"conclusion":"failure","log_bytes":77}');
INSERT INTO runners (id, name, description, fixed_labels, fixed_queue, info, slots, version, drain, created_at, last_seen_at)
VALUES (5, 'cellar', '', '["gpu"]', NULL, '{"labels":["linux"]}', 8, '0.1.0', 0, 1760000000000000, 1760000002000000);
INSERT INTO runner_totals (runner, conclusion, jobs) VALUES (5, 'failure', 1);
INSERT INTO tokens (id, kind, name, prefix, hash, created_at, expires_at, last_used_at, uses_left, labels, queue, runner, revoked_at)
VALUES (3, 'registration', 'r', 'ffreg_ab', randomblob(32), 1760000000000000, NULL, NULL, 4, '["gpu"]', NULL, NULL, NULL);
INSERT INTO idempotency (key, request_hash, response, created_at)
VALUES ('1:key', randomblob(32), '{"run":1}', 1760000000000000);
INSERT INTO audit (at, actor, action, subject, detail)
VALUES (1760000000000000, 'token:3', 'token.create', 'token:3', '{"name":"r"}');
