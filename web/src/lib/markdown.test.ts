import { expect, test } from 'vitest';
import { harmless, inline, markdown, type Block, type Inline } from './markdown';

function flat(pieces: readonly Inline[]): string {
  return pieces
    .map((piece) => {
      switch (piece.kind) {
        case 'text': return piece.text;
        case 'code': return `<code ${piece.text}>`;
        case 'break': return '<br>';
        case 'link': return `<a ${piece.href} ${flat(piece.children)}>`;
        default: return `<${piece.kind} ${flat(piece.children)}>`;
      }
    })
    .join('');
}

test('running text', () => {
  expect(flat(inline('a **b *c* d** ~~e~~ `f *g*` snake_case_name 2 * 3 * 4'))).toBe(
    'a <strong b <emphasis c> d> <deleted e> <code f *g*> snake_case_name 2 * 3 * 4',
  );
  expect(flat(inline('[x](https://a.b/c "t") ![i](http://a/i.png) https://a.b/x. \\*no\\*<br/>'))).toBe(
    '<a https://a.b/c x> <a http://a/i.png i> <a https://a.b/x https://a.b/x>. *no*<br>',
  );
});

test('nothing but web and mail addresses becomes a link, and HTML stays text', () => {
  for (const address of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', ' data:text/html,x', 'vbscript:x', '/ui/x', 'file:///etc/passwd']) {
    expect(harmless(address)).toBeNull();
  }
  expect(flat(inline('[x](javascript:alert(1))'))).not.toContain('<a');
  expect(flat(inline('<script>alert(1)</script><img src=x onerror=y>'))).toBe('<script>alert(1)</script><img src=x onerror=y>');
});

test('blocks', () => {
  const text = '# Title #\n\npara one\nline two\n\n- a\n  - b\n- [x] c\n\n3. three\n4. four\n\n> quote\n\n```sh\n# code\n```\n---\n| a | b |\n|:--|--:|\n| 1 | `x\\|y` |\n| 2 |\n';
  const blocks = markdown(text);
  expect(blocks.map((block) => block.kind)).toEqual(['heading', 'paragraph', 'list', 'list', 'quote', 'code', 'rule', 'table']);
  const of = <K extends Block['kind']>(kind: K): Extract<Block, { kind: K }> => blocks.find((b) => b.kind === kind) as Extract<Block, { kind: K }>;
  expect(of('list').items.map((item) => [item.done, item.blocks.map((b) => b.kind)])).toEqual([[null, ['paragraph', 'list']], [true, ['paragraph']]]);
  expect(blocks[3]).toMatchObject({ ordered: true, start: 3 });
  expect(of('code').text).toBe('# code');
  expect(of('table').align).toEqual(['left', 'right']);
  expect(of('table').rows.map((row) => row.map(flat))).toEqual([['1', '<code x|y>'], ['2', '']]);
});

test('hostile text takes no time and no stack', () => {
  const begin = performance.now();
  for (const piece of ['*', '_', '[', '`', '> ', '- ', '(', '![', '<', '**a', '|', '\\', 'https://', '[a](']) markdown(piece.repeat(20_000));
  expect(performance.now() - begin).toBeLessThan(4_000);
});
