import { suite } from 'uvu';
import { whenLong } from '../runner/long.ts';
import { aptsAreAlike } from './apt/alike.ts';
import { configurationIsHarmless } from './apt/configured.ts';
import { damageIsNamed, foldersMayBeElsewhere } from './apt/damaged.ts';
import { type AptHouse, openHouse } from './apt/house.ts';
import { indexIsKept } from './apt/index.ts';
import { workerIsSafe, workerTakesTheImagesSources } from './apt/outside.ts';
import { placesAreReached } from './apt/places.ts';
import { plansAreTrue } from './apt/planned.ts';
import { reasonsAreTrue } from './apt/reasons.ts';
import { requestsAreHonoured } from './apt/requested.ts';
import { sourcesAreRead } from './apt/sources.ts';
import { upstreamGoesWrong } from './apt/upstream.ts';

/** Real apt in a small real system of this machine's release, real PPAs, the machine's own mirror. */

const test = suite<AptHouse>('apt');
let house: AptHouse;
test.before(async (context) => {
  house = await openHouse();
  Object.assign(context, house);
});
test.after(async () => {
  await house[Symbol.asyncDispose]();
});

aptsAreAlike(test);
whenLong(reasonsAreTrue)(test);
requestsAreHonoured(test);
configurationIsHarmless(test);
indexIsKept(test);
whenLong(damageIsNamed)(test);
whenLong(foldersMayBeElsewhere)(test);
plansAreTrue(test);
workerTakesTheImagesSources(test);
workerIsSafe(test);
sourcesAreRead(test);
whenLong(placesAreReached)(test);
upstreamGoesWrong(test);

test.run();
