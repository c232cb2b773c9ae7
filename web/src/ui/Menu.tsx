/**
 * A menu that opens from a button. It is not modal: the modal kind of the
 * component base injects a style tag, which the Content-Security-Policy refuses.
 */
import { DropdownMenu } from 'radix-ui';
import type { ReactNode } from 'react';
import { Icon, type IconName } from './Icon';
import './dialog.css';

/** A menu; `trigger` is the button that opens it. */
export function Menu({ trigger, align = 'end', children }: { trigger: ReactNode; align?: 'start' | 'end'; children: ReactNode }) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align={align} sideOffset={6} collisionPadding={8}>
          {children}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

/** One entry that does something. */
export function MenuItem(props: { icon?: IconName; danger?: boolean; disabled?: boolean; onSelect: () => void; children: ReactNode }) {
  return (
    <DropdownMenu.Item
      className={props.danger ? 'menu-item danger' : 'menu-item'}
      disabled={props.disabled ?? false}
      onSelect={props.onSelect}
    >
      {props.icon && <Icon name={props.icon} />}
      {props.children}
    </DropdownMenu.Item>
  );
}

/** Entries of which one is chosen. */
export function MenuChoice<T extends string>(props: {
  label: string;
  value: T;
  onChange: (value: T) => void;
  choices: readonly { value: T; label: string; icon?: IconName }[];
}) {
  return (
    <DropdownMenu.RadioGroup value={props.value} onValueChange={(value) => props.onChange(value as T)}>
      <DropdownMenu.Label className="menu-label">{props.label}</DropdownMenu.Label>
      {props.choices.map((choice) => (
        <DropdownMenu.RadioItem key={choice.value} value={choice.value} className="menu-item">
          {choice.icon && <Icon name={choice.icon} />}
          <span className="grow">{choice.label}</span>
          <DropdownMenu.ItemIndicator>
            <Icon name="check" />
          </DropdownMenu.ItemIndicator>
        </DropdownMenu.RadioItem>
      ))}
    </DropdownMenu.RadioGroup>
  );
}

/** A line between entries. */
export function MenuLine() {
  return <DropdownMenu.Separator className="menu-line" />;
}
