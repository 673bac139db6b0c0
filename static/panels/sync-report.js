import { h } from '../lib/dom.js'
import { bytes, duration } from '../lib/format.js'
import { icon } from '../lib/icons.js'

export const directions = { upload: 'Workspace to S3', download: 'S3 to workspace' }

const counts = {
  skipped: 'Unchanged',
  kept: 'Left alone, newer here',
  ignored: 'Ignored',
  deleted: 'Removed'
}

/** What a sync has done, or would do; failures are named one by one. */
export function syncReport (report, title) {
  const { direction, files, bytes: size, durationMs, failed = [], verified, dryRun } = report
  const facts = [
    [dryRun ? 'Would be copied' : 'Copied', `${files} files, ${bytes(size)}`],
    !dryRun && ['Verified', `${verified} files`],
    ...Object.entries(counts).map(([field, label]) => report[field] > 0 && [label, `${report[field]} files`]),
    ['Took', duration(durationMs)]
  ].filter(Boolean)
  return h('section', { class: 'sync-report', 'data-failed': failed.length > 0 },
    h('h3', {}, icon(failed.length > 0 ? 'warning' : 'check'), title),
    h('p', { class: 'muted small' }, directions[direction]),
    h('dl', { class: 'facts' }, facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    failed.length > 0 && h('ul', { class: 'failures' }, failed.map(({ path, code, message }) =>
      h('li', {}, h('code', {}, path), h('span', { class: 'small' }, message || code)))))
}
