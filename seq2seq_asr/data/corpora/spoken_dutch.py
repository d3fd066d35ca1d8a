"""The Dutch grammar of the spoken corpus; how rules are written is told in `spoken_grammar`."""

RULES = """
sentence = <bellen> | <bericht> | <herinnering> | <wekker> | <afspraak> | <muziek> | <apparaat> | <apparaat> | <weer>
 | <vraag> | <vraag> | <lijst> | <weg>

persoon = <voornaam> | <voornaam> | <voornaam> <achternaam> | mevrouw <achternaam> | meneer <achternaam>
voornaam = anneke | anton | barbara | bart | bram | carolien | daan | diana | dirk | elise | emma | erik | esther
 | femke | frank | frederik | gerard | hanna | hendrik | ingrid | irene | jacob | jasper | johanna | joris | julia
 | karin | kees | klaas | laura | lotte | lucas | maarten | margriet | maria | marieke | martijn | michiel | mirjam
 | monique | nicolaas | olivia | pauline | peter | pieter | renate | robert | ruben | sander | sanne | simon | sofie
 | stefan | thomas | tobias | ursula | victor | willem | wouter
achternaam = bakker | boer | bosman | brouwer | dekker | dijkstra | dijkman | groen | hendriks | hoekstra | jansen
 | kok | koster | kramer | kuiper | meijer | mulder | peters | postma | prins | schouten | smit | timmermans
 | veenstra | verhoeven | vermeulen | visser | willems

cijfer = nul | een | twee | drie | vier | vijf | zes | zeven | acht | negen
eenheid = eenen | tweeën | drieën | vieren | vijfen | zesen | zevenen | achten | negenen
tiental = twintig | dertig | veertig | vijftig | zestig | zeventig | tachtig | negentig
getal = <eenheid><tiental> | <eenheid><tiental> | <tiental> | tien | elf | twaalf | dertien | veertien | vijftien
 | zestien | zeventien | achttien | negentien
paar = twee | drie | vier | vijf | zes | zeven | acht | negen | tien | twaalf | vijftien | twintig | dertig
uur = een | twee | drie | vier | vijf | zes | zeven | acht | negen | tien | elf | twaalf
tijd = <uur> uur | <uur> uur <getal> | half <uur> | kwart over <uur> | kwart voor <uur> | tien over <uur>
 | middernacht
dag = maandag | dinsdag | woensdag | donderdag | vrijdag | zaterdag | zondag
maand = januari | februari | maart | april | mei | juni | juli | augustus | september | oktober | november | december
wanneer = morgen | vanavond | overmorgen | op <dag> | op <getal> <maand> | om <tijd> | morgen om <tijd>
 | volgende week | over <paar> <duur>
duur = minuten | dagen | weken | maanden

bellen = bel <persoon> | bel alsjeblieft <persoon> | draai <cijfer> <cijfer> <cijfer> <cijfer> <cijfer>
 | neem de telefoon op voor <persoon> | bel <persoon> <wanneer> terug | start een videogesprek met <persoon>
bericht = stuur <persoon> dat <nieuws> | zeg tegen <persoon> dat <nieuws> | lees de berichten van <persoon> voor
 | vraag <persoon> of <nieuws>
nieuws = ik <paar> minuten later kom | het eten klaar is | de trein om <tijd> aankomt | we nog <waar> nodig hebben
 | de vergadering <wanneer> begint | ik de <ding> vergeten ben
ding = sleutels | paraplu | koffer | rugzak | jas | portemonnee
herinnering = herinner me er <wanneer> aan <taak> | vergeet niet <taak> | herinner <persoon> eraan <taak>
taak = de planten water te geven | de kat te voeren | <waar> te kopen | <persoon> te bellen
 | het afval buiten te zetten | de huur te betalen | de auto te wassen | de <ding> mee te nemen
 | het raam dicht te doen
wekker = zet de wekker op <tijd> | maak me wakker om <tijd> | zet een timer op <getal> minuten
 | wis de wekker van <tijd> | zet de wekker op <dag> om <tijd> | zet de wekker op <tijd> en <tijd>
afspraak = plan <wanneer> een afspraak met <persoon> | verplaats de vergadering met <persoon> naar <dag>
 | wanneer is mijn volgende afspraak met <persoon> | wat staat er op <dag> in mijn agenda
 | zeg de afspraak <wanneer> af
muziek = speel <stijl> | speel <stijl> in de <kamer> | zet de <stijl> harder | zet de <stijl> in de <kamer> zachter
 | zet het volume op <getal> procent | speel het lied van <voornaam> <achternaam> | wie is <voornaam> <achternaam>
 | speel <paar> liedjes van <achternaam>
stijl = muziek | rockmuziek | pianomuziek | volksmuziek | popmuziek
apparaat = doe het licht in de <kamer> <aan> | zet <machine> <aan> | zet de verwarming in de <kamer> op <getal> graden
 | open de gordijnen in de <kamer> | doe de <deur> op slot | start <machine> om <tijd> | is de <deur> open
 | dim het licht tot <getal> procent | zet <machine> <wanneer> <aan>
aan = aan | uit
kamer = keuken | garage | gang | slaapkamer | badkamer | woonkamer | kelder
deur = voordeur | achterdeur | kelderdeur | balkondeur
machine = de oven | de vaatwasser | de wasmachine | de stofzuiger | de ventilator | de radio | de televisie
weer = hoe wordt het weer in <stad> | regent het <wanneer> in <stad> | hoe koud is het in <stad>
 | sneeuwt het op <dag> | heb ik <wanneer> een paraplu nodig | hoe warm wordt het <wanneer>
vraag = hoeveel is <getal> plus <getal> | hoeveel is <paar> keer <getal> | hoe ver is het van <stad> naar <stad>
 | hoe laat is het in <stad> | wanneer gaat de trein naar <stad> | wat kost <waar>
 | hoe oud is <voornaam> <achternaam> | wat is <waar> in het <taal> | wanneer gaat <plek> open
taal = engels | frans | spaans | italiaans | duits | turks
stad = alkmaar | almere | amersfoort | amsterdam | antwerpen | apeldoorn | arnhem | breda | brugge | brussel | delft
 | deventer | dordrecht | eindhoven | enschede | gent | gouda | groningen | haarlem | hasselt | leeuwarden | leiden
 | leuven | maastricht | nijmegen | rotterdam | tilburg | utrecht | venlo | zwolle
lijst = zet <waar> op de boodschappenlijst | zet <waar> en <waar> op de lijst | bestel <paar> pakken <waar>
 | haal <waar> van de lijst | staat <waar> op de lijst | zoek een recept met <waar> en <waar>
waar = melk | brood | boter | kaas | appels | bananen | rijst | pasta | vis | tomaten | aardappelen | uien | koffie
 | suiker | honing | yoghurt | citroenen | chocolade | eieren | komkommers
weg = breng me naar het <doel> | hoe kom ik bij het <doel> in <stad> | zoek een restaurant in <stad>
 | bel een taxi voor <tijd> | rijd naar de <achternaam>straat <getal> | reserveer een tafel voor <paar> om <tijd>
 | waar is <plek>
doel = station | vliegveld | ziekenhuis | museum | stadhuis | zwembad | theater
plek = de apotheek | de bakker | de bank | de bioscoop | het museum | het postkantoor | de supermarkt | de bibliotheek
"""
