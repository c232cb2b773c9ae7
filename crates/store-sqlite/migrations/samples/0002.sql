-- Rows as this version had them.
INSERT INTO blobs (id, project, attempt, status, generation, bytes, created_at) VALUES
    (1, 'default', '10.1.100', 'sealed', 3, 12, 1000),
    (2, 'default', '10.1.100', 'open', 1, 5, 1000),
    (3, 'default', '10.1.100', 'sealed', 2, 7, 1000),
    (4, 'default', '10.1.100', 'condemned', 2, 7, 1000),
    (5, 'default', '10.1.100', 'sealed', 2, 9, 1000);
INSERT INTO blob_parts (blob, object, block, position, size) VALUES
    (1, 'a', 'YQ==', 0, 8), (1, 'b', 'Yg==', 1, 4), (2, 'c', 'Yw==', NULL, 5),
    (3, 'd', '@0', 0, 7), (5, 'e', '@0', 0, 9);
INSERT INTO artifacts
    (id, project, run, attempt, name, protocol, status, media_type, size, sha256, created_at, expires_at) VALUES
    (1, 'default', 1, '10.1.100', 'dist', 4, 'ready', 'application/zip', 12, zeroblob(32), 1000, 4102444800000000),
    (2, 'default', 1, '10.1.100', 'half', 4, 'uploading', 'application/zip', 0, NULL, 1000, 4102444800000000),
    (3, 'default', 1, '10.1.100', 'files', 3, 'ready', 'application/octet-stream', 7, NULL, 1000, 4102444800000000);
INSERT INTO artifact_files (artifact, path, blob, gzip, length) VALUES
    (1, '', 1, 0, 0), (2, '', 2, 0, 0), (3, 'a/b.txt', 3, 1, 20);
INSERT INTO caches
    (id, project, repository, git_ref, key, version, attempt, status, blob, size, created_at, used_at) VALUES
    (1, 'default', 'octo/app', 'refs/heads/main', 'cargo-1', 'v', '10.1.100', 'ready', 5, 9, 1000, 2000);
