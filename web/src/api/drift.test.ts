/** The generated types are those of the committed OpenAPI document. */
import { readFile } from 'node:fs/promises';
import openapiTS, { astToString } from 'openapi-typescript';
import { expect, test } from 'vitest';

test('schema.gen.ts is what docs/openapi.json says (otherwise: npm run types)', { timeout: 30_000 }, async () => {
  const document = new URL('../../../docs/openapi.json', import.meta.url);
  const ast = await openapiTS(document, { rootTypes: true, rootTypesNoSchemaPrefix: true, defaultNonNullable: false });
  const committed = await readFile(new URL('./schema.gen.ts', import.meta.url), 'utf8');
  // The command puts a comment before what the library makes.
  expect(committed.endsWith(astToString(ast))).toBe(true);
});
