import t from 'tap'
import { statusOf } from '../../../services/sandboxes/view.js'

t.test('An exit code says whether the end was expected (5.7)', async (t) => {
  t.strictSame([null, 0, 124, 137, 143, 1, 139].map(statusOf),
    ['running', 'terminated', 'terminated', 'terminated', 'terminated', 'error', 'error'])
})
