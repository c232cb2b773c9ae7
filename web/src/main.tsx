/** The beginning: theme, query client, router. */
import './styles/tokens.css';
import './styles/base.css';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { whenSignedOut } from './api/client';
import { endSession } from './api/session';
import { makeQueryClient } from './lib/queries';
import { startTheme } from './lib/theme';
import { makeRouter } from './router';

startTheme();
const queries = makeQueryClient();
const router = makeRouter(queries);

// A session that ended leads to sign-in, and from there back to this page.
whenSignedOut(() => {
  endSession(queries);
  void router.invalidate();
});

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
