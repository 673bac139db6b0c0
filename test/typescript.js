// Loads TypeScript for tap, in place of its own loader, which compiles every file anew in each process. See .taprc.
import { register } from 'node:module'

register('./typescript-hooks.js', import.meta.url)
// It has kept tap's own loader away; with it, tap would have Node's loader in every process that a test starts.
delete process.env.TAP_TYPE_STRIP_ONLY
