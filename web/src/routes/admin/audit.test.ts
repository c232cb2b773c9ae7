import { expect, test } from 'vitest';
import { auditQuery, auditSearch } from './audit-search';

test('the filter of an address is texts alone', () => {
  expect(auditSearch({ actor: 'token:3', action: '', text: 5, other: 'x' })).toEqual({ actor: 'token:3' });
});

test('days become moments, the last day included, and what is no day is left out', () => {
  const query = auditQuery({ actor: 'user:ada', from: '2026-03-01', to: '2026-03-01' });
  expect(query['actor']).toBe('user:ada');
  expect(Date.parse(query['to'] ?? '') - Date.parse(query['from'] ?? '')).toBe(86_400_000);
  expect(auditQuery({ from: 'soon' })).toEqual({});
});
