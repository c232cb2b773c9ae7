/**
 * A dialog over the page: focus stays inside, Escape closes it. The overlay is
 * our own, because the component base's injects a style tag, which the
 * Content-Security-Policy refuses.
 */
import { Dialog as Base } from 'radix-ui';
import type { ReactNode } from 'react';
import { Icon } from './Icon';
import './dialog.css';

/** A dialog with a title, a description for screen readers or people, and a body. */
export function Dialog(props: {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  description?: ReactNode;
  /** Width: `wide` for forms and tables. */
  size?: 'normal' | 'wide';
  children: ReactNode;
}) {
  return (
    <Base.Root open={props.open} onOpenChange={props.onOpenChange}>
      <Base.Portal>
        <div className="dialog-overlay" />
        <Base.Content
          className={props.size === 'wide' ? 'dialog wide' : 'dialog'}
          onOpenAutoFocus={focusBody}
          {...(props.description ? {} : { 'aria-describedby': undefined })}
        >
          <div className="dialog-head">
            <Base.Title className="grow">{props.title}</Base.Title>
            <Base.Close className="button ghost small icon-only" aria-label="Close">
              <Icon name="cross" />
            </Base.Close>
          </div>
          {/* It scrolls where it is higher than the window: then keys must reach it. */}
          <div className="dialog-body" tabIndex={0}>
            {props.description && <Base.Description className="muted">{props.description}</Base.Description>}
            {props.children}
          </div>
        </Base.Content>
      </Base.Portal>
    </Base.Root>
  );
}

/** Focus goes to the first thing in the body that can be filled in or pressed, not to the cross. */
function focusBody(event: Event): void {
  const dialog = event.currentTarget;
  if (!(dialog instanceof HTMLElement)) return;
  const first = dialog.querySelector<HTMLElement>('.dialog-body :is(input, select, textarea, button):not(:disabled)');
  if (!first) return;
  event.preventDefault();
  first.focus();
}
