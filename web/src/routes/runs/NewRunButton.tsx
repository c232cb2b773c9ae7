/** The button that opens the form for a new run; the form is loaded when it is wanted. */
import { lazy, Suspense, useState } from 'react';
import { useKeys } from '../../lib/keys';
import { Icon } from '../../ui/Icon';

const NewRunDialog = lazy(() => import('./NewRunDialog'));

/** Button and dialog. */
export function NewRun() {
  const [open, setOpen] = useState(false);
  useKeys({ n: () => setOpen(true) });
  return (
    <>
      <button type="button" className="button primary" onClick={() => setOpen(true)} aria-keyshortcuts="n">
        <Icon name="plus" /> New run
      </button>
      {open && (
        <Suspense fallback={null}>
          <NewRunDialog onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}
