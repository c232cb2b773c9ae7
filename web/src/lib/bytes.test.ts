import { expect, test } from 'vitest';
import { bytes } from './bytes';

test('sizes', () => {
  expect([0, 512, 1536, 20 * 1024 ** 2, 3.25 * 1024 ** 3].map(bytes)).toEqual(['0 B', '512 B', '1.5 KiB', '20 MiB', '3.3 GiB']);
});
