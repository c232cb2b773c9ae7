-- Rows as this version had them.
INSERT INTO repositories (id, forge, name, url, api_url, web_url, project, default_branch, webhook_secret, token,
    share_token, poll_seconds, fork_approval, refs, error, created_at)
VALUES (3, 'gitea', 'o/r', 'https://git.example.org/o/r.git', 'https://git.example.org/api/v1',
    'https://git.example.org/o/r', 'core', 'main', x'0102', NULL, 0, 60, 'first-time',
    '{"refs/heads/main":"1111111111111111111111111111111111111111"}', NULL, 1760000000000000);
INSERT INTO deliveries (id, repository, delivery, body_hash, source, event, payload, received_at, outcome, runs, notes,
    error, tries, next_try)
VALUES
    (1, 3, 'd-1', randomblob(32), 'webhook', 'push', '{}', 1760000000000000, 'started', '[2]', '[]', NULL, 1, NULL),
    (2, 3, 'poll:1', NULL, 'made', 'push', '{}', 1760000000000000, 'queued', '[]', '[]', 'out of reach', 3, 1760000001000000);
INSERT INTO schedules (id, repository, workflow, cron, timezone, next_at, last_at, note)
VALUES (1, 3, '.github/workflows/nightly.yml', '0 3 * * *', 'Europe/Berlin', 1760000000000000, NULL, NULL);
INSERT INTO trigger_runs (run, repository, sha, event, depth)
VALUES (2, 3, '1111111111111111111111111111111111111111', 'push', 0);
INSERT INTO reports (repository, sha, context, run, state, text, version, changed_at, sent, check_run, tries, next_try, error)
VALUES (3, '1111111111111111111111111111111111111111', 'fleetfoot / build (push)', 2, 'success', 'done', 2,
    1760000000000000, 'pending', NULL, 1, 1760000000000000, 'out of reach');
INSERT INTO contributors (repository, account) VALUES (3, 42);
