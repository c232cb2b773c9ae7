// How the dashboard is built and developed. Built files carry a hash of their
// content in their names, so that the server may let browsers keep them for ever.
// Nothing is inlined: the server's Content-Security-Policy forbids it.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** The server that the development server passes requests on to. */
const server = process.env['FLEETFOOT_URL'] ?? 'http://127.0.0.1:7878';

/** One prefix that belongs to the server. It refuses foreign origins, so the browser's is replaced. */
const passOn = {
  target: server,
  changeOrigin: true,
  headers: { origin: server },
};

export default defineConfig({
  base: '/ui/',
  plugins: [react()],
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: ['chrome123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
    manifest: 'manifest.json',
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/api': passOn, '/auth': passOn },
  },
});
