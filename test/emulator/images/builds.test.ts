import { NotFoundError } from 'modal'
import t from 'tap'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { creator, run } from '../../helpers/sdk.js'

const { emulator, bare, skip } = await openEmulator(t)
const modal = emulator.modal()

t.test('images: layers really run, are cached, and fail with what went wrong (1.1)', { skip }, async (t) => {
  const { app, create } = await localApp(modal, 'images')
  const recipe = () => modal.images.fromRegistry('local').dockerfileCommands([
    'ENV COLOUR=green', 'RUN mkdir -p /srv/app && echo "$SECRET" > /srv/app/secret && date +%N > /srv/app/when', 'WORKDIR /srv/app'
  ], { env: { SECRET: 'built in' } }).dockerfileCommands(['RUN echo second >> /srv/app/secret'])
  const first = await recipe().build(app)
  const box = await creator(modal, app, first)()
  const { stdout } = await run(box, ['sh', '-c', 'pwd; echo $COLOUR "[$SECRET]"; cat secret'])
  t.equal(stdout, '/srv/app\ngreen []\nbuilt in\nsecond\n')
  t.equal((await recipe().build(app)).imageId, first.imageId)
  await first.publish('app-image:v1')
  t.equal((await modal.images.fromName('app-image:v1')).imageId, first.imageId)
  t.equal((await modal.images.fromId(first.imageId)).imageId, first.imageId)
  await modal.images.delete(first.imageId)
  await t.rejects(modal.images.fromId(first.imageId), NotFoundError)
  await t.rejects(create({}, first), /NOT_FOUND.*Could not find image/)

  const failing = modal.images.fromRegistry('local').dockerfileCommands(['RUN echo the reason >&2; exit 3'])
  await t.rejects(failing.build(app), { message: /Image build for im-\w+ failed with the exception:\n.*exit code 3.*the reason/s })
  await t.rejects(modal.images.fromRegistry('127.0.0.1:1/nowhere:9').build(app), {
    message: /Image build for im-\w+ failed.*'127.0.0.1:1\/nowhere:9' cannot be used.*EMULATOR_IMAGES/s
  })
  await t.rejects(modal.images.fromRegistry('local').dockerfileCommands(['RUN true'], { gpu: 'A10G' }).build(app), /UNIMPLEMENTED.*emulator/)
})

t.test('a build that is forced runs again, and its log is streamed', { skip }, async (t) => {
  const { app } = await localApp(modal, 'images')
  const image = { dockerfileCommands: ['FROM local', 'RUN echo line one; sleep 0.3; echo line two'] }
  const lines: string[] = []
  for (const forceBuild of [true, true]) {
    const { imageId, result } = await bare.control('ImageGetOrCreate', { appId: app.appId, image, forceBuild })
    t.equal(result, null)
    for await (const { taskLogs } of bare.stream('ImageJoinStreaming', { imageId, timeout: 55 })) {
      lines.push(...taskLogs.map((log: { data: string }) => log.data))
    }
  }
  t.equal(lines.filter((line) => line === 'line two\n').length, 2)
})

expectNothingUnexpected(t, emulator)
