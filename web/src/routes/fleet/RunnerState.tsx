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

/** The state, with what is wrong as its title. */
export function RunnerState({ runner }: { runner: RunnerView }) {
  const { icon, tone, word } = STATES[runner.state];
  return (
    <span className={`status ${tone}`} title={runner.error ?? undefined}>
      <Icon name={icon} /> {word}
    </span>
  );
}
