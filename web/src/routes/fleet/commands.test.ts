import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { quoted, WAYS } from './commands';

const odd = { server: 'https://ci.example.org', token: "ffreg_a'b$(id)", labels: ['linux', 'big box'], version: '0.1.0' };

test('words reach the shell as they are', () => {
  for (const word of ['plain', 'two words', "it's", '$(id)', '`id`', 'a"b', '-x', '*', '']) {
    const out = execFileSync('sh', ['-c', `printf %s ${word === '' ? "''" : quoted(word)}`], { encoding: 'utf8' });
    expect(out).toBe(word);
  }
});

test('the shell command carries server, token and labels', () => {
  const text = WAYS[0]?.text(odd) ?? '';
  const script = text.replace('fleetfoot', `printf '[%s]'`);
  expect(execFileSync('sh', ['-c', script], { encoding: 'utf8' })).toBe(
    "[runner][up][--server][https://ci.example.org][--token][ffreg_a'b$(id)][--label][linux][--label][big box]",
  );
});

test('scripts are ones that a shell can read', () => {
  for (const way of WAYS.filter((each) => each.id === 'systemd' || each.id === 'kubernetes')) {
    expect(() => execFileSync('sh', ['-n'], { input: way.text(odd) })).not.toThrow();
  }
});

test.each(WAYS.map((way) => [way.id, way] as const))('what is shown for %s is what the tests of the program run', async (id, way) => {
  // crates/cli/tests/ways.rs takes these files as they are: systemd, Compose and the schema of Kubernetes judge them.
  const shown = way.text({ server: 'https://ci.example.org', token: 'ffreg_example', labels: ['linux', 'big box'], version: '0.1.0' });
  await expect(`${shown.trimEnd()}\n`).toMatchFileSnapshot(`ways/${id}.txt`);
});
