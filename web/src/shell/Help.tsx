/** The list of keys. */
import { Dialog } from '../ui/Dialog';

const KEYS: readonly (readonly [group: string, keys: readonly (readonly [string, string])[]])[] = [
  ['Everywhere', [['Ctrl K', 'Search and commands'], ['g r', 'Go to runs'], ['?', 'This help'], ['Esc', 'Close what is open']]],
  ['Lists', [['j', 'Next entry'], ['k', 'Previous entry'], ['Enter', 'Open the entry'], ['/', 'Search'], ['n', 'New run']]],
  ['A log', [['/', 'Search'], ['n', 'Next match'], ['N', 'Match before'], ['e', 'First error, then the next'], ['f', 'Follow the end'], ['g', 'To the beginning'], ['G', 'To the end'], ['w', 'Wrap lines'], ['t', 'Times']]],
  ['A run', [['j', 'Next job'], ['k', 'Previous job'], ['Enter', 'Open the job']]],
];

/** The dialog with every key and what it does. */
export function Help({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Keys" description="Everything works with the mouse as well.">
      {KEYS.map(([group, keys]) => (
        <section key={group}>
          <h3>{group}</h3>
          <dl className="keys">
            {keys.map(([key, what]) => (
              <div key={key}>
                <dt>
                  <kbd className="kbd">{key}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
