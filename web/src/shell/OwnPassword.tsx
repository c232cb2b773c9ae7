/** The dialog in which somebody changes the own password. */
import { useQueryClient } from '@tanstack/react-query';
import { answer, api } from '../api/client';
import { forget } from '../api/session';
import { Field, FormDialog } from '../ui/form';
import { say } from '../ui/toasts';

/** The dialog; every session of the user ends with success, this one too. */
export default function OwnPassword({ user, onClose }: { user: number; onClose: () => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const data = new FormData(form);
    const text = (name: string): string => String(data.get(name) ?? '');
    await answer(api.POST('/api/v1/users/{id}/password', {
      params: { path: { id: user } },
      body: { password: text('password'), current: text('current') },
    }));
    say('The password is changed', 'Sign in with the new one.');
    forget(queries);
    location.assign('/ui/sign-in');
  };
  return (
    <FormDialog title="Change your password" description="All your sessions end; sign in again with the new one." action="Change it" onClose={onClose} submit={submit}>
      <Field label="Current password" name="current" type="password" required autoComplete="current-password" />
      <Field label="New password" name="password" type="password" required minLength={8} autoComplete="new-password" />
    </FormDialog>
  );
}
