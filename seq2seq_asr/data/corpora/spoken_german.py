"""The German grammar of the spoken corpus; how rules are written is told in `spoken_grammar`."""

RULES = """
sentence = <anruf> | <nachricht> | <erinnerung> | <wecker> | <termin> | <musik> | <geraet> | <geraet> | <wetter>
 | <frage> | <frage> | <liste> | <weg>

person = <vorname> | <vorname> | <vorname> <nachname> | frau <nachname> | herrn <nachname>
vorname = albert | alexander | andrea | anna | anton | barbara | bernd | birgit | brigitte | christian | claudia
 | daniel | dieter | elisabeth | emma | erika | felix | florian | franziska | friedrich | georg | gisela | hannah
 | heinrich | helga | ingrid | johanna | jonas | julia | jürgen | karin | katharina | klaus | konrad | laura | leon
 | lukas | manfred | maria | markus | martin | matthias | michael | monika | nina | oskar | paul | petra | renate
 | sabine | sebastian | simon | sophie | stefan | susanne | theresa | thomas | ulrike | ursula | werner | wolfgang
nachname = bauer | becker | brandt | fischer | hartmann | hoffmann | huber | keller | klein | koch | krause | krüger
 | lehmann | meier | müller | neumann | richter | schäfer | schmidt | schneider | schröder | schulz | schwarz | vogel
 | wagner | weber | winkler | wolf | zimmermann

ziffer = null | eins | zwei | drei | vier | fünf | sechs | sieben | acht | neun
einer = ein | zwei | drei | vier | fünf | sechs | sieben | acht | neun
zehner = zwanzig | dreißig | vierzig | fünfzig | sechzig | siebzig | achtzig | neunzig
zahl = <einer>und<zehner> | <einer>und<zehner> | <zehner> | zehn | elf | zwölf | dreizehn | vierzehn | fünfzehn
 | sechzehn | siebzehn | achtzehn | neunzehn
wenige = zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | zwölf | fünfzehn | zwanzig | dreißig
stunde = ein | zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | elf | zwölf | dreizehn | fünfzehn
 | zwanzig
voll = zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | elf | zwölf
zeit = <stunde> uhr | <stunde> uhr <zahl> | halb <voll> | viertel nach <voll> | viertel vor <voll> | mitternacht
tag = montag | dienstag | mittwoch | donnerstag | freitag | samstag | sonntag
monat = januar | februar | märz | april | mai | juni | juli | august | september | oktober | november | dezember
ordnung = ersten | zweiten | dritten | vierten | fünften | siebten | achten | zehnten | zwölften | fünfzehnten
 | zwanzigsten | dreißigsten
wann = morgen | heute abend | übermorgen | am <tag> | am <ordnung> <monat> | um <zeit> | morgen um <zeit>
 | nächste woche | in <wenige> <spanne>
spanne = minuten | stunden | tagen | wochen

anruf = ruf <person> an | ruf bitte <person> an | wähle <ziffer> <ziffer> <ziffer> <ziffer> <ziffer>
 | nimm den anruf von <person> an | ruf <person> <wann> zurück | starte einen videoanruf mit <person>
nachricht = schreib <person> dass <neues> | sag <person> dass <neues> | lies die nachrichten von <person> vor
 | frag <person> ob <neues>
neues = ich <wenige> minuten später komme | das essen fertig ist | der zug um <zeit> ankommt
 | wir noch <ware> brauchen | die besprechung <wann> beginnt | ich den <ding> vergessen habe
ding = schlüssel | regenschirm | koffer | ausweis | rucksack | mantel
erinnerung = erinnere mich <wann> daran <aufgabe> | vergiss nicht <aufgabe> | erinnere <person> daran <aufgabe>
aufgabe = die blumen zu gießen | die katze zu füttern | <ware> zu kaufen | <person> anzurufen | den müll rauszubringen
 | die miete zu zahlen | das auto zu waschen | den <ding> mitzunehmen | das fenster zu schließen
wecker = stell den wecker auf <zeit> | weck mich um <zeit> | stell einen timer auf <zahl> minuten
 | lösche den wecker um <zeit> | stell den wecker am <tag> auf <zeit>
termin = trag einen termin mit <person> <wann> ein | verschiebe die besprechung mit <person> auf <tag>
 | wann habe ich den nächsten termin mit <person> | was steht am <tag> in meinem kalender | sag den termin <wann> ab
musik = spiel <stil> | spiel <stil> in der <raum> | mach die <stil> lauter | mach die <stil> in der <raum> leiser
 | stell die lautstärke auf <zahl> prozent | spiel das lied von <vorname> <nachname> | wer ist <vorname> <nachname>
 | spiel <wenige> lieder von <nachname>
stil = musik | rockmusik | klaviermusik | volksmusik | popmusik
geraet = schalte das licht in der <raum> <an> | schalte <maschine> <an>
 | stell die heizung in der <raum> auf <zahl> grad | öffne die rollläden in der <raum> | schließ die <tuer> ab
 | starte <maschine> um <zeit> | ist die <tuer> offen | dimme das licht auf <zahl> prozent
 | schalte <maschine> <wann> <an>
an = an | aus | ein
raum = küche | garage | diele | werkstatt | stube | bibliothek
tuer = haustür | kellertür | balkontür | garagentür
maschine = den backofen | die spülmaschine | die waschmaschine | den staubsauger | den ventilator | das radio
 | den fernseher
wetter = wie wird das wetter in <stadt> | regnet es <wann> in <stadt> | wie kalt ist es in <stadt>
 | schneit es am <tag> | brauche ich <wann> einen regenschirm | wie warm wird es <wann>
frage = wie viel ist <zahl> plus <zahl> | wie viel ist <wenige> mal <zahl> | wie weit ist es von <stadt> nach <stadt>
 | wie spät ist es in <stadt> | wann fährt der zug nach <stadt> | was kostet <ware> | wie alt ist <vorname> <nachname>
 | was heißt <ware> auf <sprache> | wann öffnet <ort>
sprache = englisch | französisch | spanisch | italienisch | polnisch | türkisch
stadt = aachen | augsburg | basel | berlin | bonn | bremen | dortmund | dresden | düsseldorf | erfurt | essen
 | frankfurt | freiburg | graz | hamburg | hannover | innsbruck | kassel | köln | leipzig | linz | lübeck | mannheim
 | münchen | nürnberg | potsdam | rostock | salzburg | stuttgart | wien | zürich
liste = setz <ware> auf die einkaufsliste | setz <ware> und <ware> auf die liste | bestell <wenige> packungen <ware>
 | streich <ware> von der liste | steht <ware> auf der liste | such ein rezept mit <ware> und <ware>
ware = milch | brot | butter | käse | äpfel | bananen | reis | nudeln | fisch | tomaten | kartoffeln | zwiebeln
 | kaffee | zucker | honig | joghurt | zitronen | schokolade | eier | gurken
weg = bring mich zum <ziel> | wie komme ich zum <ziel> in <stadt> | such ein restaurant in <stadt>
 | ruf ein taxi für <zeit> | fahr zur <nachname>straße <zahl> | reserviere einen tisch für <wenige> um <zeit>
 | wo ist <ort>
ziel = bahnhof | flughafen | krankenhaus | museum | rathaus | schwimmbad | supermarkt | theater
ort = die apotheke | die bäckerei | die bank | das kino | das museum | die post | der supermarkt | die bücherei
"""
