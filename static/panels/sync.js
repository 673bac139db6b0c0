import { ApiError, getJson, offline, paths } from '../lib/api.js'
import { announce, ask, h } from '../lib/dom.js'
import { bytes, roughly } from '../lib/format.js'
import { openEvents } from '../lib/sse.js'
import { button, notice } from '../views/notice.js'
import { directions, syncReport } from './sync-report.js'

const lookEvery = 2000
const phases = { list: 'Comparing', transfer: 'Copying', delete: 'Removing', verify: 'Verifying' }

/** How the workspace and its place in S3 stand to each other, and the way to make them the same. */
export class SyncPanel {
  #sandbox
  #last = h('div')
  #timer
  #problem = h('div')
  /** How many this page has started. */
  #syncs = 0
  #versions = h('div')
  #progress = h('div', { class: 'sync-progress', hidden: true })
  #bar = h('progress', { max: '1', 'aria-label': 'Progress of the sync' })
  #figures = h('p', { class: 'muted small' })
  #dryRun = h('input', { type: 'checkbox', id: 'sync-dry-run' })
  #delete = h('input', { type: 'checkbox', id: 'sync-delete' })

  constructor (sandbox) {
    this.#sandbox = sandbox
    const { bucket, keyPrefix } = sandbox.s3
    const start = (direction, symbol) =>
      button(directions[direction], () => this.#sync({ direction }), { kind: direction === 'upload' ? 'primary' : '', symbol })
    const check = (input, label) => h('div', { class: 'check' }, input, h('label', { for: input.id }, label))
    this.#progress.append(this.#bar, this.#figures)
    this.element = h('div', { class: 'sync' },
      h('p', { class: 'place' }, h('code', {}, `s3://${bucket}/${keyPrefix ?? ''}`)),
      h('div', { class: 'actions' }, start('upload', 'upload'), start('download', 'download')),
      h('div', {},
        check(this.#dryRun, 'Only show what would be done'),
        check(this.#delete, 'Also remove what is gone on the other side')),
      this.#progress,
      this.#problem,
      this.#last,
      this.#versions)
  }

  async shown () {
    if (!this.#progress.hidden) return
    const syncs = this.#syncs
    try {
      const { last, active, versions = [] } = await getJson(paths.sync(this.#sandbox.id))
      // What a sync of this page has said meanwhile is newer.
      if (syncs !== this.#syncs) return
      this.#last.replaceChildren(last
        ? syncReport(last.report, `Last sync, ${roughly(Date.now() - Date.parse(last.finishedAt))} ago`)
        : h('p', { class: 'empty' }, 'Not synced yet.'))
      this.#showVersions(versions)
      if (active) this.#await()
    } catch (error) {
      this.#last.replaceChildren(notice(error, { dismissible: false }))
    }
  }

  /** Another tab, or the end of a run, has started one: looks again until it is done. */
  #await () {
    this.#last.prepend(h('p', { class: 'loading' }, h('span', { class: 'spinner' }), 'A sync is going on…'))
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => { if (this.element.isConnected) this.shown() }, lookEvery)
  }

  #showVersions (versions) {
    this.#versions.replaceChildren(...versions.length === 0
      ? []
      : [h('h3', {}, 'Saves'), h('ul', { class: 'versions' }, versions.map(({ version, savedAt }) => h('li', {},
          h('span', {}, new Date(savedAt).toLocaleString()),
          button('Restore', () => this.#restore(version, savedAt), { kind: 'small' }))))])
  }

  async #restore (version, savedAt) {
    const sure = this.#dryRun.checked || await ask({
      title: 'Restore this save?',
      text: `Files in the workspace become what they were at ${new Date(savedAt).toLocaleString()}.`,
      action: 'Restore'
    })
    if (sure) await this.#sync({ direction: 'download', version })
  }

  async #sync (request) {
    const dryRun = this.#dryRun.checked
    this.#syncs++
    this.#problem.replaceChildren()
    this.#busy(true)
    this.#figures.textContent = 'Starting…'
    this.#bar.removeAttribute('value')
    try {
      const done = await this.#follow({
        ...request, ...(dryRun && { dryRun }), ...(this.#delete.checked && { delete: true })
      })
      announce(dryRun ? 'This is what would be done' : 'The sync is done')
      const title = dryRun ? `What “${directions[request.direction]}” would do` : 'Synced just now'
      this.#last.replaceChildren(syncReport(done, title))
    } catch (error) {
      this.#problem.replaceChildren(notice(error))
      if (error.details?.report) this.#last.replaceChildren()
    } finally {
      this.#busy(false)
    }
  }

  async #follow (json) {
    for await (const { event, data } of openEvents('POST', paths.sync(this.#sandbox.id), { json })) {
      if (event === 'progress') this.#show(data)
      else if (event === 'error') throw new ApiError(data, data.statusCode)
      else if (event === 'report') return data
    }
    throw offline()
  }

  #show ({ phase, files, totalFiles, bytes: done, totalBytes, bytesPerSecond }) {
    if (totalBytes > 0) this.#bar.value = done / totalBytes
    this.#figures.textContent = [
      phases[phase] ?? phase,
      totalFiles > 0 && `${files} of ${totalFiles} files`,
      totalBytes > 0 && `${bytes(done)} of ${bytes(totalBytes)}`,
      bytesPerSecond > 0 && `${bytes(bytesPerSecond)}/s`
    ].filter(Boolean).join(' · ')
  }

  #busy (busy) {
    this.#progress.hidden = !busy
    for (const one of this.element.querySelectorAll('button')) one.disabled = busy
  }
}
