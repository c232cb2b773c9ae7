/** What is shown in place of a page that failed, or that does not exist. */
import { Link, useRouter, type ErrorComponentProps } from '@tanstack/react-router';
import { useEffect } from 'react';
import { useConnection } from '../live/connection';
import { Empty, Failed } from '../ui/states';

/** A page that failed; it tries again when asked and when the server is back. */
export function FaultPage({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  const { online } = useConnection();
  const again = (): void => {
    reset();
    void router.invalidate();
  };
  useEffect(() => {
    if (online) return undefined;
    // Runs when the connection changes to online: this effect's clean-up is that moment.
    return again;
  }, [online]);
  return (
    <main className="page">
      <Failed error={error} retry={again} />
    </main>
  );
}

/** An address that leads nowhere. */
export function MissingPage() {
  return (
    <main className="page">
      <Empty title="There is no such page">
        The address is wrong, or what it named is gone. <Link to="/runs">Go to the runs</Link>.
      </Empty>
    </main>
  );
}
