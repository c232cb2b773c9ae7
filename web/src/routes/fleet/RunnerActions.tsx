/** What can be done with a runner: drain, resume, label, a new token, remove. */
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { Registered, RunnerView } from '../../api/schema.gen';
import { useMay } from '../../lib/session';
import { Dialog } from '../../ui/Dialog';
import { Area, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Menu, MenuItem, MenuLine } from '../../ui/Menu';
import { Once } from '../../ui/Once';
import { useDo } from '../../lib/act';

type Asked = 'labels' | 'rotate' | 'remove';

/** The menu; nothing for people who may not administer. */
export function RunnerActions({ runner, prominent = false, onRemoved }: { runner: RunnerView; prominent?: boolean; onRemoved?: () => void }) {
  const act = useDo();
  const [asked, setAsked] = useState<Asked | null>(null);
  const [rotated, setRotated] = useState<Registered | null>(null);
  if (!useMay('admin')) return null;
  const path = { params: { path: { id: runner.id } } };
  const drain = (): void =>
    void act('Draining', () => answer(api.POST('/api/v1/runners/{id}/drain', path)), `${runner.name} finishes what it has`, ['runners', 'fleet']);
  const resume = (): void =>
    void act('Resuming', () => answer(api.POST('/api/v1/runners/{id}/resume', path)), `${runner.name} takes jobs again`, ['runners', 'fleet']);
  return (
    <>
      <Menu
        trigger={
          <button type="button" className={prominent ? 'button' : 'button ghost small'} aria-label={`Actions for ${runner.name}`}>
            Actions <Icon name="down" />
          </button>
        }
      >
        {runner.drain ? <MenuItem icon="bolt" onSelect={resume}>Resume</MenuItem> : <MenuItem icon="pause" onSelect={drain}>Drain</MenuItem>}
        <MenuItem onSelect={() => setAsked('labels')}>Labels…</MenuItem>
        <MenuItem onSelect={() => setAsked('rotate')}>New token…</MenuItem>
        <MenuLine />
        <MenuItem danger onSelect={() => setAsked('remove')}>Remove…</MenuItem>
      </Menu>
      {asked === 'labels' && <Labels runner={runner} onClose={() => setAsked(null)} />}
      {asked === 'rotate' && <Rotate runner={runner} onClose={() => setAsked(null)} onRotated={setRotated} />}
      {asked === 'remove' && <RemoveRunner runner={runner} onClose={() => setAsked(null)} onRemoved={onRemoved} />}
      {rotated && (
        <Dialog open onOpenChange={() => setRotated(null)} title={`New token of ${rotated.name}`} description="It is shown this once. Put it into the runner's token file and start the runner again.">
          <Once text={rotated.token} label="Token of the runner" />
        </Dialog>
      )}
    </>
  );
}

function Labels({ runner, onClose }: { runner: RunnerView; onClose: () => void }) {
  const queries = useQueryClient();
  const own = new Set(runner.info.labels ?? []);
  const fixed = runner.labels.filter((label) => !own.has(label));
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const labels = (texts(form)('labels') ?? '').split(/[\n,]/).map((label) => label.trim()).filter(Boolean);
    await answer(api.PATCH('/api/v1/runners/{id}', { params: { path: { id: runner.id } }, body: { labels } }));
    await queries.invalidateQueries({ queryKey: ['runners'] });
  };
  return (
    <FormDialog
      title={`Labels of ${runner.name}`}
      description={own.size > 0 ? `The runner itself offers ${[...own].join(', ')}. These are added here:` : 'Jobs ask for labels with runs-on.'}
      action="Save"
      onClose={onClose}
      submit={submit}
    >
      <Area label="Labels" name="labels" rows={4} defaultValue={fixed.join('\n')} help="One in each line." />
    </FormDialog>
  );
}

function Rotate({ runner, onClose, onRotated }: { runner: RunnerView; onClose: () => void; onRotated: (rotated: Registered) => void }) {
  const submit = async (): Promise<void> =>
    onRotated(await answer(api.POST('/api/v1/runners/{id}/rotate-token', { params: { path: { id: runner.id } } })));
  return (
    <FormDialog
      title={`New token for ${runner.name}?`}
      description="The old one is refused at once: the runner stops speaking to the server until it has the new one."
      action="Make a new token"
      danger
      onClose={onClose}
      submit={submit}
    />
  );
}

function RemoveRunner({ runner, onClose, onRemoved }: { runner: RunnerView; onClose: () => void; onRemoved: (() => void) | undefined }) {
  const queries = useQueryClient();
  const submit = async (): Promise<void> => {
    await answer(api.DELETE('/api/v1/runners/{id}', { params: { path: { id: runner.id } } }));
    onRemoved?.();
    await queries.invalidateQueries({ queryKey: ['runners'], exact: true });
  };
  const held = runner.jobs.length;
  return (
    <FormDialog
      title={`Remove ${runner.name}?`}
      description={held > 0 ? `It holds ${held === 1 ? 'a job, which counts' : `${held} jobs, which count`} as lost. Drain it first to let them end.` : 'Its token is refused from now on.'}
      action="Remove"
      danger
      onClose={onClose}
      submit={submit}
    />
  );
}
