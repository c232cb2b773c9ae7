/** Workflows that the tests submit. */

/** Ends well at once. */
export const HELLO = `
name: Hello
on: push
jobs:
  greet:
    runs-on: ubuntu-latest
    steps:
      - name: Greet
        run: echo hello from the job
`;

/** Says whether it was asked for debug output. */
export const DEBUG = `
name: Debug
on: push
jobs:
  tell:
    runs-on: ubuntu-latest
    steps:
      - run: echo "debug is \${RUNNER_DEBUG:-off}"
`;

/** A graph with a matrix, annotations, a summary, a failure and a skipped job. */
export const GRAPH = `
name: CI
run-name: Build and test
on: push
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - run: echo fine
  build:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        os: [debian, alpine]
        go: ['1.22', '1.23']
    steps:
      - name: Compile
        run: |
          echo "::warning file=src/main.go,line=3::unused variable x"
          if [ "\${{ matrix.os }}\${{ matrix.go }}" = debian1.22 ]; then
            {
              echo '# Coverage'
              echo
              echo '| package | lines |'
              echo '|---------|------:|'
              echo '| core    | 91 %  |'
              echo '<script>window.broken = true</script> [bad](javascript:alert(1)) [good](https://example.org/report)'
            } >> "$GITHUB_STEP_SUMMARY"
          fi
  test:
    needs: [build, lint]
    runs-on: ubuntu-latest
    steps:
      - name: Unit tests
        run: |
          echo "::error title=assert::expected 4 but got 5"
          exit 3
  deploy:
    needs: [test]
    runs-on: ubuntu-latest
    steps:
      - run: echo never
`;

/** Runs until somebody ends it; the file that it waits for is never made. */
export const LONG = `
name: Long
on: push
jobs:
  wait:
    runs-on: ubuntu-latest
    steps:
      - name: Wait
        run: while [ ! -e /nonexistent/file ]; do sleep 0.2; done
`;

/** Waits for a label that nobody offers. */
export const LONELY = `
name: Lonely
on: push
jobs:
  render:
    runs-on: [self-hosted, gpu]
    steps:
      - run: echo never
`;

/** Uses an environment that somebody has to approve. */
export const DEPLOY = `
name: Deploy
on: push
jobs:
  ship:
    runs-on: ubuntu-latest
    environment: production
    steps:
      - run: echo shipped
`;

/** A larger graph that takes its time, for pictures. */
export const PIPELINE = `
name: Pipeline
run-name: Release candidate
on: push
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - run: echo fine
  build:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        target: [x86_64, aarch64]
        profile: [debug, release]
    steps:
      - name: Compile
        run: sleep 0.6; echo "::notice::compiled for \${{ matrix.target }}"
  unit:
    needs: build
    runs-on: ubuntu-latest
    steps:
      - name: Unit tests
        run: |
          echo '# Tests' >> "$GITHUB_STEP_SUMMARY"
          echo '**412** passed, 0 failed' >> "$GITHUB_STEP_SUMMARY"
  integration:
    needs: [build, lint]
    runs-on: ubuntu-latest
    steps:
      - name: Integration tests
        run: while [ ! -e /nonexistent/file ]; do sleep 0.2; done
  docs:
    needs: lint
    runs-on: ubuntu-latest
    steps:
      - run: echo written
  package:
    needs: [unit, integration, docs]
    runs-on: ubuntu-latest
    steps:
      - run: echo packed
  publish:
    needs: package
    runs-on: ubuntu-latest
    steps:
      - run: echo published
`;

/** A workflow whose only job runs a script as an action does: steps of shell see nothing of the server's services. */
function acting(name: string, script: string): string {
  const indented = script.trim().split('\n').map((line) => `          ${line}`).join('\n');
  return `
name: ${name}
on: push
jobs:
  make:
    runs-on: ubuntu-latest
    steps:
      - name: Write the action
        run: |
          mkdir -p act
          cat > act/action.yml <<'END'
          name: ${name}
          description: Speaks to the services of the server
          runs:
            using: node20
            main: main.js
          END
          cat > act/main.js <<'END'
${indented}
          END
      - uses: ./act
`;
}

/** What both scripts need. */
const ANSWERED = `
const answered = async (response) => {
  if (!response.ok) throw new Error(response.status + ' ' + (await response.text()));
  return response;
};
`;

/** Uploads an artifact. */
export const ARTIFACT = acting('Artifact', `${ANSWERED}
const { ACTIONS_RESULTS_URL: url, ACTIONS_RUNTIME_TOKEN: token } = process.env;
const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
const [, run, job] = claims.scp.split(' ').find((each) => each.startsWith('Actions.Results:')).split(':');
const ids = { workflow_run_backend_id: run, workflow_job_run_backend_id: job, name: 'report' };
const call = async (method, body) => {
  const headers = { authorization: 'Bearer ' + token, 'content-type': 'application/json' };
  const address = url + 'twirp/github.actions.results.api.v1.ArtifactService/' + method;
  return (await answered(await fetch(address, { method: 'POST', headers, body: JSON.stringify({ ...ids, ...body }) }))).json();
};
const put = async (address, body) => answered(await fetch(address, { method: 'PUT', body }));
(async () => {
  const made = await call('CreateArtifact', { version: 7 });
  const bytes = Buffer.from('all is well');
  await put(made.signed_upload_url + '&comp=block&blockid=YQ', bytes);
  await put(made.signed_upload_url + '&comp=blocklist', '<BlockList><Latest>YQ</Latest></BlockList>');
  await call('FinalizeArtifact', { size: String(bytes.length) });
})();
`);

/** Saves as many caches as are wanted. */
export function caches(count: number): string {
  return acting('Caches', `${ANSWERED}
const { ACTIONS_CACHE_URL: url, ACTIONS_RUNTIME_TOKEN: token } = process.env;
const call = async (method, path, headers, body) => {
  const authorization = 'Bearer ' + token;
  return answered(await fetch(url + '_apis/artifactcache/caches' + path, { method, headers: { authorization, ...headers }, body }));
};
const json = { 'content-type': 'application/json' };
(async () => {
  for (let n = 1; n <= ${count}; n += 1) {
    const bytes = Buffer.from('kept ' + n);
    const asked = JSON.stringify({ key: 'deps-' + n, version: 'v1', cacheSize: bytes.length });
    const { cacheId } = await (await call('POST', '', json, asked)).json();
    const range = { 'content-type': 'application/octet-stream', 'content-range': 'bytes 0-' + (bytes.length - 1) + '/*' };
    await call('PATCH', '/' + cacheId, range, bytes);
    await call('POST', '/' + cacheId, json, JSON.stringify({ size: bytes.length }));
  }
})();
`);
}
