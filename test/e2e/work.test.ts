import { PutObjectCommand } from '@aws-sdk/client-s3'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { startFaultProxy } from '../helpers/fault-proxy.js'
import { noS3, s3Settings, startS3 } from '../helpers/s3.js'
import { startService } from '../helpers/service.js'

const skip = noBrowser || noS3 || (process.env.TEST_LIVE === '1' && 'drives the scripted model')

t.test('Files and S3 in a real browser', { skip }, async (t) => {
  const [browser, s3, folder] = await Promise.all([openBrowser(), startS3(), mkdtemp(join(tmpdir(), 'upload-'))])
  await s3.createBucket('work')
  const put = async (Key: string) => { await s3.client.send(new PutObjectCommand({ Bucket: 'work', Key, Body: Key })) }
  await Promise.all(['one/from-s3.txt', 'bad/fine.txt', 'bad/refused', 'bad/a//b'].map(put))
  const proxy = await startFaultProxy(s3.endpoint)
  proxy.use(({ url }) => url.includes('bad/refused') ? { kind: 'refused', status: 403, code: 'AccessDenied' } : undefined)
  const service = await startService({
    ...local,
    ACCOUNTS: '',
    ...s3Settings({ ...s3, endpoint: proxy.endpoint })
  })
  t.teardown(async () => {
    await browser.close()
    await service.close()
    await proxy.close()
    await s3.close()
    await rm(folder, { recursive: true })
  })
  const { page, allow } = await openPage(t, browser, service.url)
  await page.goto(`${service.url}/#code=${service.app.signInCode}`)

  await t.test('When a workspace cannot be initialized, the file is named, and the form corrects the prefix (7.7)', async (t) => {
    await page.getByRole('button', { name: 'Options' }).click()
    await page.locator('summary', { hasText: 'S3' }).click()
    await page.getByLabel('Bucket').fill('work')
    await page.getByLabel('Key prefix').fill('bad/')
    await page.getByRole('button', { name: 'Create' }).click()
    const alert = page.getByRole('alert')
    t.match(await alert.innerText(), /could not be synced[^]*Failed\s+1 file[^]*refused\s+S3 refused it[^]*Warnings\s+a\/\/b\s+The key is not a path/)
    await alert.getByRole('button', { name: 'Edit options' }).click()
    await page.getByLabel('Key prefix').fill('one/')
    await page.getByRole('button', { name: 'Create' }).click()
    await page.locator('.welcome').waitFor()
  })

  await t.test('The last sync, the progress of a new one, a file that fails, and all of it after a reload', async (t) => {
    await page.getByRole('button', { name: 'Sync' }).click()
    t.match(await page.locator('.sync-report').innerText(), /Last sync, \d+ s ago\s+S3 to workspace[^]*Copied\s+1 file, 15 B\s+Verified\s+1 file/)
    await send(page, scripted([[{ tool: 'Bash', input: { command: "seq 1 20000 > numbers; echo x > \"$(printf 'bad\\001name')\"" } }], [{ text: 'Written.' }]]))
    await finished(page)
    const seen = progressOf(page)
    await page.getByRole('button', { name: 'Workspace to S3' }).click()
    await page.getByRole('alert').waitFor()
    t.ok((await seen).some((text) => /(Comparing|Copying|Verifying)/.test(text)), 'its progress was shown')
    const report = await page.locator('.sync').innerText()
    t.match(report, /could not be synced[^]*Copied\s+\d+ files, \d+ kB[^]*Failed\s+1 file/)
    t.match(report, /bad.name\s+S3 cannot carry a name with control characters/)
    await page.reload()
    await page.getByRole('button', { name: 'Sync' }).click()
    t.match(await page.locator('.sync-report').innerText(), /Last sync[^]*Workspace to S3[^]*control characters/)
    await send(page, scripted([[{ tool: 'Bash', input: { command: 'rm bad*' } }], [{ text: 'Removed.' }]]))
    await finished(page)
    await page.getByRole('button', { name: 'Workspace to S3' }).click()
    await page.getByText('Synced just now').waitFor()
    t.match(await page.locator('.sync').innerText(), /Copied\s+nothing\s+Unchanged\s+\d+ file/)
  })

  await t.test('Folders are dropped with their contents, also onto a folder; omitted ones are named', async (t) => {
    await mkdir(join(folder, 'project/src/deep'), { recursive: true })
    await mkdir(join(folder, 'project/empty'))
    await Promise.all(Array.from({ length: 105 }, (_, n) => writeFile(join(folder, `project/src/${n}.txt`), `${n}`)))
    await writeFile(join(folder, 'project/src/deep/a b.txt'), 'deep')
    await page.getByRole('button', { name: 'Files' }).click()
    await page.locator('.tree .file', { hasText: 'numbers' }).waitFor()
    await drop(page, '.files', [join(folder, 'project')])
    const alert = page.getByRole('alert')
    t.match(await alert.innerText(), /106 of 106 files were uploaded[^]*project\/empty\s+Empty folders are not uploaded/)
    await alert.getByRole('button', { name: 'Dismiss' }).click()
    await page.locator('summary.file', { hasText: 'project' }).click()
    await page.locator('summary.file', { hasText: 'src' }).click()
    await page.locator('.tree .file', { hasText: '104.txt' }).waitFor()
    await page.locator('summary.file', { hasText: 'deep' }).click()
    await page.locator('.tree .file', { hasText: 'a b.txt' }).click()
    await page.locator('.file-content', { hasText: 'deep' }).waitFor()
    await page.getByRole('button', { name: 'Back to the list' }).click()
    await page.locator('.tree .file', { hasText: 'a b.txt' }).waitFor()
    t.equal(await page.evaluate('document.activeElement.title'), 'a b.txt', 'the focus is restored')
    await writeFile(join(folder, 'dropped.txt'), 'there')
    await drop(page, '[data-path$="/deep"] > summary', [join(folder, 'dropped.txt')])
    await page.locator('[data-path$="/deep"] .file', { hasText: 'dropped.txt' }).waitFor()
  })

  await t.test('Files that fail to upload are named with the reason; an upload can be cancelled', async (t) => {
    await send(page, scripted([[{ tool: 'Bash', input: { command: 'mkdir taken; ln -s /etc outside' } }], [{ text: 'Made.' }]]))
    await finished(page)
    await mkdir(join(folder, 'outside'))
    await writeFile(join(folder, 'outside/passwd'), 'x')
    await writeFile(join(folder, 'taken'), 'x')
    await writeFile(join(folder, 'fine'), 'x')
    await drop(page, '.files', ['outside', 'taken', 'fine'].map((name) => join(folder, name)))
    const alert = page.getByRole('alert')
    const text = await alert.innerText()
    t.match(text, /1 of 3 files were uploaded/)
    t.match(text, /taken\s+“taken” is a directory\./)
    t.match(text, /outside\/passwd\s+\S.* \S/)
    await alert.getByRole('button', { name: 'Dismiss' }).click()
    allow(/status of 40[03]/)
    await page.locator('.tree .file', { hasText: 'fine' }).waitFor()

    await writeFile(join(folder, 'big'), Buffer.alloc(256 * 2 ** 20))
    await drop(page, '.files', [join(folder, 'big')])
    await page.locator('.upload', { hasText: /of 268 MB/ }).getByRole('button', { name: 'Cancel' }).click()
    t.match(await alert.innerText(), /0 of 1 files were uploaded before you cancelled/)
    t.equal(await page.locator('.tree .file', { hasText: 'big' }).count(), 0, 'a partial upload leaves no file')
  })

  await t.test('The end of the session names the files that could not be copied (7.8)', async (t) => {
    await page.getByRole('button', { name: 'Close' }).click()
    await send(page, scripted([[{ tool: 'Bash', input: { command: "echo x > \"$(printf 'bad\\001name')\"" } }], [{ text: 'Written.' }]]))
    await finished(page)
    await page.getByRole('button', { name: 'End session' }).click()
    t.match(await page.getByRole('dialog').innerText(), /copied to s3:\/\/work\/one\/ first/)
    await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click()
    t.match(await page.locator('.report').innerText(), /Copy the workspace to S3 failed: .* could not be synced[^]*bad.name\s+S3 cannot carry/)
  })
})

/** Drops real files and folders of this machine, like a file manager. */
async function drop (page: Page, selector: string, files: string[]) {
  const { x, y, width } = (await page.locator(selector).boundingBox())!
  const devtools = await page.context().newCDPSession(page)
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await devtools.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + 12, data: { items: [], files, dragOperationsMask: 1 } })
  }
  await devtools.detach()
}

/** The texts of the sync's progress until it ended. */
async function progressOf (page: Page): Promise<string[]> {
  return await page.evaluate(`new Promise((resolve) => {
    const seen = []
    const progress = document.querySelector('.sync-progress')
    const observer = new MutationObserver(() => {
      seen.push(progress.textContent)
      if (!progress.hidden) return
      observer.disconnect()
      resolve(seen)
    })
    observer.observe(progress, { childList: true, subtree: true, characterData: true, attributes: true })
  })`)
}
