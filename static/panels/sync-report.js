import { h } from '../lib/dom.js'
import { formatBytes, formatDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'

export const directions = { upload: 'Workspace to S3', download: 'S3 to workspace' }

const countsOf = (direction) => ({
  skipped: 'Unchanged',
  kept: direction === 'upload' ? 'Kept, newer in S3' : 'Kept, newer here',
  ignored: 'Ignored',
  deleted: 'Deleted'
})

function filesOf (number) {
  return number === 1 ? '1 file' : `${number} files`
}

/** What a sync did, or would do, with a list of failures. */
export function syncReport (report, title) {
  const { direction, files, bytes: size, durationMs, failed = [], warnings = [], verified, dryRun } = report
  const facts = [
    [dryRun ? 'Would copy' : 'Copied', files === 0 ? 'nothing' : `${filesOf(files)}, ${formatBytes(size)}`],
    !dryRun && files > 0 && ['Verified', filesOf(verified)],
    failed.length > 0 && ['Failed', filesOf(failed.length)],
    ...Object.entries(countsOf(direction))
      .map(([field, label]) => report[field] > 0 && [label, filesOf(report[field])]),
    ['Duration', formatDuration(durationMs)]
  ].filter(Boolean)
  return h('section', { class: 'sync-report', 'data-failed': failed.length > 0 },
    h('h3', {}, icon(failed.length > 0 ? 'warning' : 'check'), title),
    h('p', { class: 'muted small' }, directions[direction]),
    h('dl', { class: 'facts' }, facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    failed.length > 0 && failures(failed),
    warnings.length > 0 && [h('h4', {}, 'Warnings'), failures(warnings)])
}

/** Files that were not copied, with the reasons. */
export function failures (failed) {
  return h('ul', { class: 'failures' }, failed.map(({ path, code, message }) =>
    h('li', {}, h('code', {}, path), h('span', { class: 'small' }, message || code))))
}
