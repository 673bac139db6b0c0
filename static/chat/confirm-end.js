import { confirmDialog } from '../lib/dom.js'

/** Asks for confirmation to end a sandbox, and says what happens to its files. */
export function confirmEnd ({ volume, s3 }, { title, action, running = false }) {
  return confirmDialog({
    title,
    text: `${running ? 'Claude will be stopped, and the' : 'The'} sandbox will be removed with all its processes. ` +
      (s3?.syncOnTerminate ? `The workspace is copied to s3://${s3.bucket}/${s3.keyPrefix ?? ''} first. ` : '') +
      (volume ? `Files on the volume “${volume.name}” are kept.` : `${s3?.syncOnTerminate ? 'All other' : 'Its'} files are lost.`),
    action
  })
}
