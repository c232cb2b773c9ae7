/** What is shown once: a new token, a secret; with a button that copies it. */
import { Icon } from './Icon';
import { complain, say } from './toasts';
import './once.css';

/** The text and the button. */
export function Once({ text, label }: { text: string; label: string }) {
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => say('Copied'),
      () => complain(new Error('The browser does not let this page copy. Select the text instead.')),
    );
  };
  return (
    <div className="row">
      <code className="secret-once grow" aria-label={label}>
        {text}
      </code>
      <button type="button" className="button" onClick={copy}>
        <Icon name="copy" /> Copy
      </button>
    </div>
  );
}
