/** The state of a runner: icon, colour and word. */
import type { RunnerState as State, RunnerView } from '../../api/schema.gen';
import { Icon, type IconName } from '../../ui/Icon';

const STATES: Record<State, { icon: IconName; tone: string; word: string }> = {
  idle: { icon: 'check', tone: 'tone-ok', word: 'Idle' },
  busy: { icon: 'bolt', tone: 'tone-busy', word: 'Busy' },
  draining: { icon: 'pause', tone: 'tone-wait', word: 'Draining' },
  error: { icon: 'alert', tone: 'tone-bad', word: 'Error' },
  offline: { icon: 'minus', tone: 'tone-quiet', word: 'Offline' },
};

/** A state. */
export function RunnerStateWord({ state, title }: { state: State; title?: string | undefined }) {
  const { icon, tone, word } = STATES[state];
  return (
    <span className={`status ${tone}`} title={title}>
      <Icon name={icon} /> {word}
    </span>
  );
}

/** The state of a runner, with what is wrong as its title. */
export function RunnerState({ runner }: { runner: RunnerView }) {
  return <RunnerStateWord state={runner.state} title={runner.error ?? undefined} />;
}
