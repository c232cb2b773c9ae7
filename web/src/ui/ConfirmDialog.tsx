/** A question before something that cannot be taken back. */
import { Dialog } from './Dialog';

/** The question; `act` and `keep` name both answers by what they do. */
export function ConfirmDialog(props: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  text: string;
  act: string;
  keep: string;
  onConfirm: () => void;
}) {
  return (
    <Dialog open={props.open} onOpenChange={props.onOpenChange} title={props.title} description={props.text}>
      <div className="dialog-actions">
        <button type="button" className="button" onClick={() => props.onOpenChange(false)}>
          {props.keep}
        </button>
        <button
          type="button"
          className="button primary danger"
          onClick={() => {
            props.onOpenChange(false);
            props.onConfirm();
          }}
        >
          {props.act}
        </button>
      </div>
    </Dialog>
  );
}
