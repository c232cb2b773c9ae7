import { expect, test } from 'vitest';
import { ago, duration, millis } from './time';

test('lengths of time have at most two units', () => {
  const lengths: [number, string][] = [
    [-5, '0 ms'], [0, '0 ms'], [480, '480 ms'], [1_500, '1.5 s'], [9_990, '10.0 s'], [12_000, '12 s'], [59_999, '59 s'],
    [65_000, '1 m 05 s'], [3_600_000, '1 h 00 m'], [7_805_000, '2 h 10 m'], [90_000_000, '1 d 1 h'],
  ];
  for (const [ms, words] of lengths) expect(duration(ms)).toBe(words);
});

test('moments are told from now', () => {
  const now = Date.parse('2026-05-10T12:00:00Z');
  expect(ago(now - 3_000, now)).toBe('just now');
  expect(ago(now - 30_000, now)).toMatch(/30/);
  expect(ago(now - 3 * 3_600_000, now)).toMatch(/3/);
  expect(ago(now - 20 * 86_400_000, now)).toMatch(/20/);
});

test('timestamps of the API are read, and nothing else', () => {
  expect(millis('2026-11-20T18:00:00.250000Z')).toBe(Date.UTC(2026, 10, 20, 18, 0, 0, 250));
  expect(millis(null)).toBeNull();
  expect(millis('soon')).toBeNull();
});
