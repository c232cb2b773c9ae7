/** The banner that says when what is shown is not live. */
import { useConnection } from '../live/connection';
import { Icon } from '../ui/Icon';

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });

/** Says since when the page is not connected; nothing while it is. */
export function Banner() {
  const { online, knownAt } = useConnection();
  return (
    <div role="status" aria-live="polite">
      {!online && (
        <p className="banner">
          <Icon name="alert" /> Not connected: showing what was known at {clock.format(knownAt)}. Trying again…
        </p>
      )}
    </div>
  );
}
