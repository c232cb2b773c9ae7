/** Forms: labelled fields, a dialog with a form, and the question before something that cannot be undone. */
import { useId, useState, type FormEvent, type InputHTMLAttributes, type ReactNode } from 'react';
import { Dialog } from './Dialog';
import { Failed } from './states';

/** A text field with its label; `help` stands below it. */
export function Field({ label, help, ...input }: { label: string; help?: ReactNode } & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} className="input" aria-describedby={help ? `${id}-help` : undefined} autoComplete="off" {...input} />
      {help && <span id={`${id}-help`} className="help">{help}</span>}
    </div>
  );
}

/** A field of several lines. */
export function Area({ label, help, ...rest }: { label: string; help?: ReactNode; name: string; rows?: number; defaultValue?: string; required?: boolean }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <textarea id={id} className="input" spellCheck={false} aria-describedby={help ? `${id}-help` : undefined} {...rest} />
      {help && <span id={`${id}-help`} className="help">{help}</span>}
    </div>
  );
}

/** A choice of one; the browser's own control, which every reader knows. */
export function Choice<T extends string>(props: {
  label: string;
  name: string;
  choices: readonly { value: T; label: string }[];
  defaultValue?: T;
  value?: T;
  onChange?: (value: T) => void;
  help?: ReactNode;
}) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      <select
        id={id}
        name={props.name}
        className="input"
        aria-describedby={props.help ? `${id}-help` : undefined}
        {...(props.onChange
          ? { value: props.value, onChange: (event) => props.onChange?.(event.target.value as T) }
          : { defaultValue: props.defaultValue })}
      >
        {props.choices.map((choice) => (
          <option key={choice.value} value={choice.value}>
            {choice.label}
          </option>
        ))}
      </select>
      {props.help && <span id={`${id}-help`} className="help">{props.help}</span>}
    </div>
  );
}

/** Yes or no. */
export function Check({ label, name, defaultChecked }: { label: string; name: string; defaultChecked?: boolean }) {
  return (
    <label className="row">
      <input type="checkbox" name={name} defaultChecked={defaultChecked} /> {label}
    </label>
  );
}

/** The texts of a form by name, trimmed. An empty one is `undefined`: nothing was said. */
export function texts(form: HTMLFormElement): (name: string) => string | undefined {
  const data = new FormData(form);
  return (name) => {
    const value = data.get(name);
    return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
  };
}

/** A dialog with a form. `submit` does the work; what it throws is shown in the dialog, which stays open. */
export function FormDialog(props: {
  title: string;
  description?: ReactNode;
  action: string;
  danger?: boolean;
  onClose: () => void;
  /** What happens after success, where that is not closing. */
  onDone?: () => void;
  submit: (form: HTMLFormElement) => Promise<unknown>;
  children?: ReactNode;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const onSubmit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await props.submit(event.currentTarget);
      (props.onDone ?? props.onClose)();
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };
  return (
    <Dialog open onOpenChange={(open) => !open && props.onClose()} title={props.title} description={props.description}>
      <form className="stack" onSubmit={(event) => void onSubmit(event)}>
        {props.children}
        {error != null && <Failed error={error} />}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" className={props.danger ? 'button primary danger' : 'button primary'} disabled={busy}>
            {props.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
