import { expect, test } from 'vitest';
import { bytes } from './bytes';

test('sizes stay short', () => {
  const sizes: [number, string][] = [
    [0, '0 B'], [1023, '1023 B'], [1024, '1.0 KiB'], [150 * 1024, '150 KiB'], [5 * 2 ** 30, '5.0 GiB'], [2 ** 62, '4096 PiB'],
  ];
  for (const [count, words] of sizes) expect(bytes(count)).toBe(words);
});
