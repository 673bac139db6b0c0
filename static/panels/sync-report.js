import { h } from '../lib/dom.js'
import { formatBytes, formatDuration } from '../lib/format.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'

const countsOf = (direction) => ({
  skipped: words.sync.skipped,
  kept: direction === 'upload' ? words.sync.keptInS3 : words.sync.keptHere,
  ignored: words.sync.ignored,
  deleted: words.sync.deleted
})

/** What a sync did, or would do, with a list of failures. */
export function syncReport (report, title) {
  const { direction, files, bytes: size, durationMs, failed = [], warnings = [], verified, dryRun } = report
  const { sync: say } = words
  const facts = [
    [dryRun ? say.wouldCopy : say.copied, files === 0 ? say.nothing : say.filesWithSize(files, formatBytes(size))],
    !dryRun && files > 0 && [say.verified, say.files(verified)],
    failed.length > 0 && [say.failed, say.files(failed.length)],
    ...Object.entries(countsOf(direction))
      .map(([field, label]) => report[field] > 0 && [label, say.files(report[field])]),
    [say.duration, formatDuration(durationMs)]
  ].filter(Boolean)
  return h('section', { class: 'sync-report', 'data-failed': failed.length > 0 },
    h('h3', {}, icon(failed.length > 0 ? 'warning' : 'check'), title),
    h('p', { class: 'muted small' }, say.directions[direction]),
    h('dl', { class: 'facts' }, facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
    failed.length > 0 && failures(failed),
    warnings.length > 0 && [h('h4', {}, say.warnings), failures(warnings)])
}

/** Files that were not copied, with the reasons. */
export function failures (failed) {
  return h('ul', { class: 'failures' }, failed.map(({ path, code, message }) =>
    h('li', {}, h('code', {}, path), h('span', { class: 'small' }, message || code))))
}
