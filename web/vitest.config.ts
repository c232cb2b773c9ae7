// Two kinds of tests, and the pictures: `unit` for pure parts (beside their sources), and `browser`,
// which drives the built dashboard in Chromium against the real server (in tests/).
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [react()],
  test: {
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts', 'src/**/*.test.tsx'], environment: 'node' } },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['tests/**/*.test.ts'],
          environment: 'node',
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // On a machine that is busy a browser stalls now and then; a test that needed its second try is
          // printed as such, and one that fails twice has failed.
          retry: 1,
        },
      },
      {
        extends: true,
        // No test: `npm run screenshots` writes pictures with it.
        test: { name: 'screenshots', include: ['tests/screenshots.ts'], environment: 'node', testTimeout: 240_000, hookTimeout: 120_000 },
      },
    ],
  },
});
