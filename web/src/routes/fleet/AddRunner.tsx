/** Makes a registration token and shows what to type on the machine that shall become a runner. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import { Dialog } from '../../ui/Dialog';
import { Choice, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { complain, say } from '../../ui/toasts';
import { WAYS, type Registration } from './commands';
import { fleetQuery, runnersQuery } from './data';

const LIFETIMES = [
  { value: '600', label: '10 minutes' },
  { value: '3600', label: 'An hour' },
  { value: '86400', label: 'A day' },
] as const;

/** The dialog: first the token, then the commands. */
export function AddRunner({ onClose }: { onClose: () => void }) {
  const [registration, setRegistration] = useState<Registration | null>(null);
  const queries = useQueryClient();
  const fleet = useQuery(fleetQuery);
  if (registration) return <Commands registration={registration} onClose={onClose} />;
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const text = texts(form);
    const labels = (text('labels') ?? '').split(',').map((label) => label.trim()).filter(Boolean);
    const uses = text('uses');
    const body = {
      kind: 'registration' as const,
      name: 'from the dashboard',
      expires_in_seconds: Number(text('lifetime') ?? 3600),
      max_uses: uses ? Number(uses) : null,
    };
    const created = await answer(api.POST('/api/v1/tokens', { body }));
    void queries.invalidateQueries({ queryKey: ['tokens'] });
    setRegistration({ server: location.origin, token: created.token, labels, version: fleet.data?.server_version ?? 'latest' });
  };
  return (
    <FormDialog
      title="Add a runner"
      description="A registration token lets new runners in. They keep a token of their own afterwards."
      action="Show the commands"
      onClose={onClose}
      onDone={() => undefined}
      submit={submit}
    >
      <Field label="Labels" name="labels" placeholder="linux, gpu" help="Comma-separated. Jobs ask for them with runs-on." />
      <Field label="Runners that may use the token" name="uses" type="number" min={1} max={10000} defaultValue={1} />
      <Choice label="Token good for" name="lifetime" choices={LIFETIMES} defaultValue="3600" />
    </FormDialog>
  );
}

function Commands({ registration, onClose }: { registration: Registration; onClose: () => void }) {
  const [way, setWay] = useState(WAYS[0]);
  const text = way?.text(registration) ?? '';
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(() => say('Copied'), () => complain(new Error('The browser does not let this page copy. Select the text instead.')));
  };
  return (
    <Dialog open size="wide" onOpenChange={(open) => !open && onClose()} title="Start the runner" description="The token is shown this once. The runner appears in the list as soon as it is connected.">
      <div role="group" aria-label="Ways to run it" className="quick ways">
        {WAYS.map((each) => (
          <button
            key={each.id}
            type="button"
            aria-pressed={each === way}
            className="quick-choice"
            onClick={() => setWay(each)}
          >
            {each.label}
          </button>
        ))}
      </div>
      <p className="muted">{way?.note}</p>
      <div className="stack">
        <pre className="commands commands-shown" tabIndex={0} aria-label={`Commands for ${way?.label ?? ''}`}>
          {text}
        </pre>
        <Newcomers />
        <div className="dialog-actions">
          <button type="button" className="button" onClick={copy}>
            <Icon name="copy" /> Copy
          </button>
          <button type="button" className="button primary" onClick={onClose}>
            Done
          </button>
        </div>
      </div>
    </Dialog>
  );
}

/** Says which runners have come since the commands are shown. */
function Newcomers() {
  const { data: runners = [] } = useQuery(runnersQuery);
  const [known] = useState(() => new Set(runners.map((runner) => runner.id)));
  const names = runners.filter((runner) => !known.has(runner.id)).map((runner) => runner.name);
  return (
    <p role="status" className={names.length > 0 ? 'status tone-ok' : 'status tone-quiet'}>
      {names.length > 0 ? <Icon name="check" /> : <Icon name="arc" className="spin" />}
      {names.length > 0 ? `Connected: ${names.join(', ')}` : 'Waiting for the runner to connect'}
    </p>
  );
}
