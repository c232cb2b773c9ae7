/** The command palette: type a few letters, press Enter. */
import { useQueryClient, type InfiniteData } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useId, useState, type KeyboardEvent } from 'react';
import type { Session } from '../api/session';
import type { RunView } from '../api/types';
import { setTheme } from '../lib/theme';
import { Dialog } from '../ui/Dialog';
import { Icon, type IconName } from '../ui/Icon';
import { sections } from './sections';
import './palette.css';

interface Command {
  readonly id: string;
  readonly label: string;
  readonly icon: IconName;
  readonly act: () => void;
}

/** The palette; it is there while it is open. */
export default function Palette(props: { session: Session; onClose: () => void; onHelp: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const list = useId();
  const all = useCommands(props);
  const found = useFound(text.trim());
  const commands = [...matching(all, text), ...found];
  const chosen = Math.min(at, commands.length - 1);

  const run = (command: Command | undefined): void => {
    if (!command) return;
    props.onClose();
    command.act();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown') setAt((chosen + 1) % Math.max(commands.length, 1));
    else if (event.key === 'ArrowUp') setAt((chosen - 1 + commands.length) % Math.max(commands.length, 1));
    else if (event.key === 'Enter') run(commands[chosen]);
    else return;
    event.preventDefault();
  };

  return (
    <Dialog open onOpenChange={(open) => !open && props.onClose()} title="Search and commands">
      <input
        className="input"
        role="combobox"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={commands[chosen] ? `${list}-${commands[chosen].id}` : undefined}
        aria-label="Command, run number or text"
        placeholder="A command, a run's number, or words to find"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKeyDown}
      />
      <ul id={list} role="listbox" aria-label="Commands" className="palette">
        {commands.map((command, index) => (
          <li
            key={command.id}
            id={`${list}-${command.id}`}
            role="option"
            aria-selected={index === chosen}
            onMouseMove={() => setAt(index)}
            onClick={() => run(command)}
          >
            <Icon name={command.icon} />
            {command.label}
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function useCommands({ session, onHelp }: { session: Session; onHelp: () => void }): readonly Command[] {
  const navigate = useNavigate();
  return [
    ...sections(session).map((section): Command => ({
      id: section.to,
      label: `Go to ${section.label.toLowerCase()}`,
      icon: section.icon,
      act: () => void navigate({ to: section.to }),
    })),
    { id: 'light', label: 'Theme: light', icon: 'sun', act: () => setTheme('light') },
    { id: 'dark', label: 'Theme: dark', icon: 'moon', act: () => setTheme('dark') },
    { id: 'system', label: 'Theme: as the system', icon: 'system', act: () => setTheme('system') },
    { id: 'help', label: 'Keys and help', icon: 'help', act: onHelp },
  ];
}

/** Most runs that are offered. */
const MOST_RUNS = 6;

/** Runs that the page knows already and that the words fit, and a search for all others. */
function useFound(text: string): readonly Command[] {
  const navigate = useNavigate();
  const queries = useQueryClient();
  if (text === '') return [];
  const open = (run: string) => () => void navigate({ to: '/runs/$run', params: { run } });
  const known = new Map<number, RunView>();
  for (const [, data] of queries.getQueriesData<InfiniteData<{ items: RunView[] }>>({ queryKey: ['runs', 'list'] })) {
    for (const run of data?.pages[0]?.items ?? []) known.set(run.id, run);
  }
  const words = text.toLowerCase().split(/\s+/);
  const runs = [...known.values()]
    .filter((run) => {
      const about = `${run.title} ${run.name} #${run.number} ${run.branch ?? ''} ${run.project}`.toLowerCase();
      return words.every((word) => about.includes(word));
    })
    .slice(0, MOST_RUNS)
    .map((run): Command => ({ id: `run-${run.id}`, label: `${run.title} #${run.number}`, icon: 'right', act: open(String(run.id)) }));
  const id = /^\d{1,15}$/.test(text) ? [{ id: 'by-id', label: `Open run ${text}`, icon: 'right', act: open(text) } as const] : [];
  return [
    ...id,
    ...runs,
    { id: 'search', label: `Search runs for “${text}”`, icon: 'search', act: () => void navigate({ to: '/runs', search: { text } }) },
  ];
}

/** Commands that have every word of the text, in their order. */
function matching(commands: readonly Command[], text: string): readonly Command[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return commands.filter((command) => words.every((word) => command.label.toLowerCase().includes(word)));
}
